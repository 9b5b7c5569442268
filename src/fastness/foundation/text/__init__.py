"""What stands in texts: secrets, told by their kind and place, never by their content."""

from fastness.foundation.text.secrets import SHORTEST, Secret, first_secret, secrets_in

__all__ = ["SHORTEST", "Secret", "first_secret", "secrets_in"]
