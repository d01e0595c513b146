"""What people look at: SQL models over the raw tables, in the schema `<connection>_analytics`.

`models/*.sql` says what each table holds, `model` reads these files, `sources` gives the raw tables the
names that the models use, `refresh` brings the tables up to date, `quality` counts what is wrong with them.
No model reads another one: each is right whatever became of the others, and the order does not matter.
"""
