"""What the hub says, as HTML: one module a page, and the parts they share. What comes from elsewhere is escaped."""
