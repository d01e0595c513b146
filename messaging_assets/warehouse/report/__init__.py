"""One page for the morning: the week, and whether its data is right, as HTML that stands alone, and pictures.

`figures` reads the numbers from the warehouse, `findings` judges the data, `charts` and `graph` draw,
`page` writes the HTML, `words` gives numbers and names their words. `write.write_report` is the way in.
Names of channels and users are other people's text: they are cleaned, cut and escaped. The texts of
messages are never read.
"""
