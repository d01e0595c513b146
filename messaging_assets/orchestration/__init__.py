"""Dagster: what is materialised, when, by what, and how it is judged. One module per concept.

Everything here is derived from the connections; nothing is decided that could be decided further
in. Importing a module, and building the definitions, takes no network, no secret and no database.
"""
