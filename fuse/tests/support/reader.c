/* Reads the first page of a file, or does something else that needs a process of its own.
 *   reader direct|buffered|mapped|scattered FILE [timer]
 *   reader euid
 * Exits with errno. With "timer" a handled SIGALRM comes every 10 ms. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static void ignore(int signal) { (void)signal; }

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "euid")) {
		printf("%d\n", (int)geteuid());
		return 0;
	}
	if (argc < 3)
		return EINVAL;
	const char *how = argv[1];
	int flags = O_RDONLY | (strcmp(how, "direct") ? 0 : O_DIRECT);
	int fd = open(argv[2], flags);
	if (fd < 0)
		return errno;
	void *page;
	if (posix_memalign(&page, 4096, 4096))
		return ENOMEM;
	if (argc > 3) {
		struct sigaction action = { .sa_handler = ignore };
		struct itimerval timer = { { 0, 10000 }, { 0, 10000 } };
		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &timer, NULL);
	}
	if (!strcmp(how, "mapped") || !strcmp(how, "scattered")) {
		volatile char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			return errno;
		/* No readahead: the fault itself asks for the page and waits for the answer. */
		if (!strcmp(how, "scattered") && madvise((void *)map, 4096, MADV_RANDOM))
			return errno;
		(void)map[0];
		return 0;
	}
	return pread(fd, page, 4096, 0) < 0 ? errno : 0;
}
