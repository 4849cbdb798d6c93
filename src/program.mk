# The pooler itself.
