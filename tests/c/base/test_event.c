#include "event_cases.h"
