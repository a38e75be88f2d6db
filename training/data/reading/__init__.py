"""One reader of tables for all families: a user's file, whatever program wrote it, read without a silent guess.

::

    bytes ─encodings─> text ─layout─> heading and rows of cells ─numbers, dates─> a table, decided column by column

Each column has one rule, made from all of its rows and described; a column that can be read in two ways is refused with
the option that decides. Every row of the file is in the table, or among the faults with its place, column and value.
"""
