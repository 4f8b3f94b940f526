"""A simulated Adyen: the Checkout API v71, its payment links, and its standard webhooks.

It refuses what Adyen refuses and knows what Adyen's documentation says: a payment cannot be read,
and captures, cancels and refunds are received first and reported later.
"""
