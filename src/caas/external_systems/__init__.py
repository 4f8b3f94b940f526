"""One client per external system (Diagram 1). Clients do not retry."""
