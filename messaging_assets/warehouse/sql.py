"""Writing SQL: quoting names and texts. Statements stand where they are used."""


def quoted(name: str) -> str:
    """A name as SQL identifier.

    Example:
        >>> quoted('at')
        '"at"'
    """
    return '"' + name.replace('"', '""') + '"'


def qualified(*names: str) -> str:
    """A table's name with its schema, and with its database where that is not the one in use.

    Example:
        >>> qualified("messaging", "users")
        '"messaging"."users"'
    """
    return ".".join(map(quoted, names))


def literal(text: str) -> str:
    """A text as SQL literal, where a parameter can't stand.

    Example:
        >>> literal("the owner's")
        "'the owner''s'"
    """
    return "'" + text.replace("'", "''") + "'"
