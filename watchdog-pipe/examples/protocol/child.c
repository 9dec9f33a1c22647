/* A child that follows the pipe of WATCHDOG_PIPE: repeats its standard input, and ends when its
 * parent does. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <poll.h>

#include "link.h"

int main(void)
{
    struct link link;
    bool supervised = find_link(&link);
    puts(supervised ? "ready" : "unsupervised");
    fflush(stdout);
    for (;;) {
        /* poll(2) passes over a negative number. */
        struct pollfd fds[] = {{0, POLLIN, 0}, {supervised ? (int)link.fd : -1, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0)
            continue;
        enum verdict verdict = fds[1].revents != 0 ? read_pipe(&link) : NONE;
        if (verdict != NONE) {
            act(verdict);
            close((int)link.fd);
            supervised = false;
        }
        if (fds[0].revents != 0)
            work();
    }
}
