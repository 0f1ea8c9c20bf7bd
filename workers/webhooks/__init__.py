"""Sending webhooks: signed, to addresses that may be told, as often as it takes. No torch here."""
