#include "sp.h"
