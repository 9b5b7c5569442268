"""What stands in texts: secrets, told by their kind and place, never by their content; and many patterns at once."""

from fastness.foundation.text.patterns import Patterns
from fastness.foundation.text.secrets import SHORTEST, Secret, first_secret, secrets_in

__all__ = ["SHORTEST", "Patterns", "Secret", "first_secret", "secrets_in"]
