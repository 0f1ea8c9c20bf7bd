"""Looking at everything that an installation depends on, and saying what is wrong and what to do about it."""
