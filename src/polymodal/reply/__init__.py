"""A listener's reply to what somebody says and feels: as text, as speech and as a talking face."""
