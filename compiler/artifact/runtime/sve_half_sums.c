/* As sve_sums.c, with weights that are stored as halves. */
#define TUNESMITH_HALF_WEIGHTS
#define TUNESMITH_SUMS tunesmith_sve_half_sums
#include "sve_sums.c"
