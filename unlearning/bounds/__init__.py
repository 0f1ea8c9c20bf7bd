"""What a published version can tell about a record, in nats: formulas, their float error, and what they assume."""
