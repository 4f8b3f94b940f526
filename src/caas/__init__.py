"""CaaS payments."""
