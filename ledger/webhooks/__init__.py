"""Telling a tenant's own systems what happens: addresses, messages, and which addresses may be told anything."""
