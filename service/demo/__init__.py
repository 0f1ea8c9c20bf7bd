"""`lacuna demo`: real services forget people, and are compared with services that never saw them."""
