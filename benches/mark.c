// Prints the monotonic clock in microseconds, and executes the rest of its words: at the start of a chain of execs, and at
// its end.
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	dprintf(1, "mark %lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000);
	if (argc < 2)
		return 0;
	execvp(argv[1], argv + 1);
	return 127;
}
