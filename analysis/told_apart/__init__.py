"""How often `nb.which` names the right convention, and no other."""
