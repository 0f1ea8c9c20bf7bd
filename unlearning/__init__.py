"""Pure mathematics: public models, integer statistics, exact solves and their checks.

No web, SQL, queue, clock or file.
"""
