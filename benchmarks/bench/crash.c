/* Kills its process just before, or in the middle of, the n-th operation that changes something below a folder.
 *
 * Loaded by LD_PRELOAD; it does nothing until crash_arm is called. Every operation goes to a log, a line each:
 * its kind, a tab, the path (of renames and links: a tab and the second path). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long crash_at, count;
static int log_file = -1, armed;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* at: the number of the operation that dies, 0 = none. */
void crash_arm(const char *below, long at, const char *log) {
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    snprintf(folder, sizeof folder, "%s", below);
    crash_at = at;
    count = 0;
    armed = 1;
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void absolute(int dirfd, const char *path, char *out) {
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    char link[64], base[PATH_MAX];
    if (dirfd == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t n = readlink(link, base, sizeof base - 1);
    base[n < 0 ? 0 : n] = 0;
    if (path[0]) snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path);
    else snprintf(out, PATH_MAX, "%s", base);
}

/* Writes the operation to the log; gives 1 where it is the one that dies. */
static int note(const char *kind, const char *path, const char *second) {
    if (!armed || strncmp(path, folder, strlen(folder))) return 0;
    long number = __sync_add_and_fetch(&count, 1);
    char line[2 * PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%s\t%s%s%s\n", kind, path, second ? "\t" : "", second ? second : "");
    if (crash_at && number > crash_at) die(); /* another thread has died already */
    if (number != crash_at) syscall(SYS_write, log_file, line, n);
    return number == crash_at;
}

static int note_fd(const char *kind, int fd) {
    if (!armed) return 0;
    char path[PATH_MAX];
    absolute(fd, "", path);
    return note(kind, path, NULL);
}

static int note_at(const char *kind, int dirfd, const char *path) {
    if (!armed) return 0;
    char whole[PATH_MAX];
    absolute(dirfd, path, whole);
    return note(kind, whole, NULL);
}

static int note_two(const char *kind, int a, const char *from, int b, const char *to) {
    if (!armed) return 0;
    char first[PATH_MAX], second[PATH_MAX];
    absolute(a, from, first);
    absolute(b, to, second);
    return note(kind, first, second);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (note_fd("write", fd)) {
        syscall(SYS_write, fd, data, size / 2); /* a torn one */
        die();
    }
    return syscall(SYS_write, fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    if (note_fd("write", fd)) {
        syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2);
        die();
    }
    return syscall(SYS_writev, fd, parts, n);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (note_fd("write", fd)) die();
    return syscall(SYS_pwrite64, fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (note_fd("write", fd)) die();
    return syscall(SYS_pwrite64, fd, data, size, at);
}
int fsync(int fd) {
    if (note_fd("fsync", fd)) die();
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    if (note_fd("fsync", fd)) die();
    return REAL(fdatasync)(fd);
}
int ftruncate(int fd, off_t size) {
    if (note_fd("truncate", fd)) die();
    return REAL(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    if (note_fd("truncate", fd)) die();
    return REAL(ftruncate64)(fd, size);
}
int rename(const char *from, const char *to) {
    if (note_two("rename", AT_FDCWD, from, AT_FDCWD, to)) die();
    return REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    if (note_two("rename", a, from, b, to)) die();
    return REAL(renameat)(a, from, b, to);
}
int link(const char *from, const char *to) {
    if (note_two("link", AT_FDCWD, to, AT_FDCWD, from)) die();
    return REAL(link)(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (note_two("link", b, to, a, from)) die();
    return REAL(linkat)(a, from, b, to, flags);
}
int unlink(const char *path) {
    if (note_at("unlink", AT_FDCWD, path)) die();
    return REAL(unlink)(path);
}
int unlinkat(int dirfd, const char *path, int flags) {
    if (note_at("unlink", dirfd, path)) die();
    return REAL(unlinkat)(dirfd, path, flags);
}
int rmdir(const char *path) {
    if (note_at("unlink", AT_FDCWD, path)) die();
    return REAL(rmdir)(path);
}
int mkdir(const char *path, mode_t mode) {
    if (note_at("mkdir", AT_FDCWD, path)) die();
    return REAL(mkdir)(path, mode);
}

#define OPENED(dirfd, path)                                                       \
    mode_t mode = 0;                                                              \
    if (flags & (O_CREAT | O_TMPFILE)) {                                          \
        va_list more;                                                             \
        va_start(more, flags);                                                    \
        mode = va_arg(more, mode_t);                                              \
        va_end(more);                                                             \
    }                                                                             \
    if (flags & (O_CREAT | O_TRUNC) && note_at("create", dirfd, path)) die();

int open(const char *path, int flags, ...) {
    OPENED(AT_FDCWD, path)
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    OPENED(AT_FDCWD, path)
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int openat(int dirfd, const char *path, int flags, ...) {
    OPENED(dirfd, path)
    return syscall(SYS_openat, dirfd, path, flags, mode);
}
int openat64(int dirfd, const char *path, int flags, ...) {
    OPENED(dirfd, path)
    return syscall(SYS_openat, dirfd, path, flags, mode);
}
