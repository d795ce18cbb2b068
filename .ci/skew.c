/* cc -shared -fPIC -o skew.so skew.c; SKEW_MS=-3000 LD_PRELOAD=./skew.so PROGRAM: its calendar clock is 3 s behind, and all
   other clocks and all timers are right. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    const char *text = getenv("SKEW_MS");
    long ms = text ? atol(text) : 0;
    int result = syscall(SYS_clock_gettime, id, now);
    if (result == 0 && id == CLOCK_REALTIME) {
        now->tv_sec += ms / 1000;
        now->tv_nsec += ms % 1000 * 1000000;
        if (now->tv_nsec >= 1000000000) {
            now->tv_sec++;
            now->tv_nsec -= 1000000000;
        } else if (now->tv_nsec < 0) {
            now->tv_sec--;
            now->tv_nsec += 1000000000;
        }
    }
    return result;
}
