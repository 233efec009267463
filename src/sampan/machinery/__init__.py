"""Rules for objects of any kind: errors, names, selectors, quantities, schema, patches."""
