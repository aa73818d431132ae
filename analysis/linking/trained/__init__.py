"""The same question with an encoder that is trained end to end, and a re-ranker behind it."""
