"""Published claims about sampled losses, each computed exactly and judged by one rule."""
