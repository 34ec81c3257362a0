"""Data: class sets and label maps, data sets and their files, views, batches, and checks."""
