"""What another package would add: nothing here is known to `src`."""
