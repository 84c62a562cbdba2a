"""The pages of the reference, written from the code whenever the site is built, so that they say what the code does.

Each module gives one page as Markdown. What a page shows is whatever is there: a command, a setting or a column that is
added shows up by itself.
"""
