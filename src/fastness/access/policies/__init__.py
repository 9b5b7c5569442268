"""The policies shipped: `roles.cedar` permits, `duties.cedar` forbids, `schema.cedar` says what they may speak of."""
