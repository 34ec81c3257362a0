"""Archives as data sets: zip, and tar with an index, read in place and at any place in order.

`paths.locate` turns what a user wrote into a path; `paths.ArchivePath` reads like a `pathlib.Path`.
"""
