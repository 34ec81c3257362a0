"""What every package needs: errors that a user can act on, the base of option groups, files.

It imports nothing else of the package.
"""
