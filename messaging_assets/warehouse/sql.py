"""Writing SQL: quoting names. Statements stand where they are used."""


def quoted(name: str) -> str:
    """A name as SQL identifier.

    Example:
        >>> quoted('at')
        '"at"'
    """
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, table: str) -> str:
    """A table's name with its schema.

    Example:
        >>> qualified("messaging", "users")
        '"messaging"."users"'
    """
    return f"{quoted(schema)}.{quoted(table)}"
