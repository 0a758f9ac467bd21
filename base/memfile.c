#include "memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMFILE_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.p, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes.p += n;
		bytes.len -= (size_t)n;
	}
	return 0;
}

int memfile_new(const char *name, struct span bytes, int *ret_fd, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return err_set_errno(err, "cannot create memory file %s", name);
	if (write_all(fd, bytes) < 0 || fcntl(fd, F_ADD_SEALS, MEMFILE_SEALS) < 0) {
		r = err_set_errno(err, "cannot fill memory file %s", name);
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int memfile_map(struct memfile *ret, int fd, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *map;

	if (seals < 0 || (seals & (F_SEAL_WRITE | F_SEAL_SHRINK)) != (F_SEAL_WRITE | F_SEAL_SHRINK))
		return err_set(err, ERR_PROTOCOL, "descriptor %d is not a sealed memory file", fd);
	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "cannot stat memory file");
	if (st.st_size == 0) {
		*ret = MEMFILE_NONE;
		return 0;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set_errno(
			err, "cannot map memory file of %lld bytes", (long long)st.st_size);
	*ret = (struct memfile){map, (size_t)st.st_size};
	return 0;
}

void memfile_unmap(struct memfile *file)
{
	if (file->map)
		munmap(file->map, file->len);
	*file = MEMFILE_NONE;
}

struct span memfile_span(const struct memfile *file)
{
	return span_of(file->map, file->len);
}
