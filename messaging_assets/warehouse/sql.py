"""Writing SQL: quoting names and texts. Statements stand where they are used."""


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


def literal(text: str) -> str:
    """A text as SQL literal, where a parameter can't stand.

    Example:
        >>> literal("the owner's")
        "'the owner''s'"
    """
    return "'" + text.replace("'", "''") + "'"
