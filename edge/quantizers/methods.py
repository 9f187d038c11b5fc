"""List the methods; a new one is a file and a row here."""

from edge.quantizers.base import Method
from edge.quantizers.matquant import MatQuant
from edge.quantizers.minmax import MinMax
from edge.quantizers.prepare import FixedAlpha, ParetoQ

PARETOQ, FIXED_ALPHA, MIN_MAX, MATQUANT = ParetoQ(), FixedAlpha(), MinMax(), MatQuant()
METHODS: dict[str, Method] = {method.name: method for method in (PARETOQ, FIXED_ALPHA, MIN_MAX, MATQUANT)}
