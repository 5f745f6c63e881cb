/* A parser as an old library might have it: it believes that every header has a colon. */
#include <string.h>

unsigned long value_length(const char *header) {
    return strlen(strchr(header, ':') + 1);
}
