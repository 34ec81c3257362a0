"""`clan bench`: systems x seeds of one task, trained, compared, tested and written down."""
