"""Data that grows: tables are imported once, and become visible to training week by week.

::

    files ─importer─> raw_rows (bad_rows apart) ─loader, +3 % a week─> visible rows ─export─> a file that training reads

`training.data.rows.source` says what a family brings along: how its files are read, and what names a row.
"""
