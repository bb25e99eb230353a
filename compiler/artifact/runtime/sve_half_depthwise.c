/* As sve_depthwise.c, with weights that are stored as halves. */
#define TUNESMITH_HALF_WEIGHTS
#define TUNESMITH_DEPTHWISE tunesmith_sve_half_depthwise
#include "sve_depthwise.c"
