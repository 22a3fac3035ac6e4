/* Preloaded into a process: lets chosen calls to the system fail, in one process, at one moment.

   What is to fail stands in a file that is mapped into memory, so that a test can change it while
   the process runs. See __init__.py, which has the order of the fields and of the functions. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Not from the headers: their types differ a little from system to system, and a wrapper passes on
   whatever it is given. */
typedef void *P;
typedef intptr_t ssize_t;
int close(int), getpid(void), open(const char *, int, ...);
char *getenv(const char *);
P mmap(P, size_t, int, int, int, int64_t);

enum { READ_WRITE = 2, CLOSE_ON_EXEC = 02000000, PROT_READ_WRITE = 3, MAP_SHARED = 1 };

enum { MOST = 8 };

struct control {
    int32_t pid, armed, total;
    struct {
        int32_t function, error, first, count, hit;
    } failures[MOST];
    int32_t calls[48]; /* by function, since it was armed */
};

static volatile struct control *control;

enum { FORK = 1, EXEC, OPEN, PIPE, ACCEPT, SOCKET, KILL, WAIT, READ, WRITE, SEND, RECV, CHDIR,
       UNLINK, RENAME, STAT, DUP, POLL, EPOLL, MEMFD, TIMES, SEEK, LOCK, CLOSE, LIST, CWD,
       READLINK, ACCESS, CHMOD, MMAP, OPTION, BIND, IOCTL };

enum { OFF, ARMED, IN_SETUP, EXECUTED }; /* further ones are the program's alone */

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("INJECTION");
    if (path == NULL)
        return;
    int descriptor = open(path, READ_WRITE | CLOSE_ON_EXEC);
    if (descriptor < 0)
        return;
    P found = mmap(NULL, sizeof(struct control), PROT_READ_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (found == (P)-1)
        return;
    control = found;
    if (control->pid != getpid())
        return;
    /* Executed afresh: until its own code says that it has begun, the interpreter's calls are its
       own; unless it is these that are to fail. */
    if (control->armed == ARMED)
        control->armed = OFF;
    if (control->armed == EXECUTED)
        control->armed = ARMED;
}

static int refused(int function) {
    if (control == NULL || control->armed != ARMED || control->pid != getpid())
        return 0;
    int number = __sync_add_and_fetch(&control->calls[function], 1);
    for (int i = 0; i < control->total; i++) {
        if (control->failures[i].function != function || number < control->failures[i].first ||
            number >= control->failures[i].first + control->failures[i].count)
            continue;
        __sync_add_and_fetch(&control->failures[i].hit, 1);
        errno = control->failures[i].error;
        return 1;
    }
    return 0;
}

#define REAL(type, name, parameters)                                                               \
    static type(*real) parameters;                                                                 \
    if (real == NULL)                                                                              \
        *(void **)&real = dlsym(RTLD_NEXT, #name);

#define WRAP(number, type, name, parameters, arguments)                                            \
    type name parameters {                                                                         \
        REAL(type, name, parameters)                                                               \
        return refused(number) ? (type)-1 : real arguments;                                        \
    }

/* The same for what returns a pointer, NULL if it fails. */
#define WRAP_POINTER(number, name, parameters, arguments)                                          \
    P name parameters {                                                                            \
        REAL(P, name, parameters)                                                                  \
        return refused(number) ? NULL : real arguments;                                            \
    }

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(int, name, (const char *, int, ...))                                                  \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        int mode = va_arg(rest, int);                                                              \
        va_end(rest);                                                                              \
        return refused(OPEN) ? -1 : real(path, flags, mode);                                       \
    }

#define WRAP_OPENAT(name)                                                                          \
    int name(int directory, const char *path, int flags, ...) {                                    \
        REAL(int, name, (int, const char *, int, ...))                                             \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        int mode = va_arg(rest, int);                                                              \
        va_end(rest);                                                                              \
        return refused(OPEN) ? -1 : real(directory, path, flags, mode);                            \
    }

WRAP(FORK, int, fork, (void), ())
WRAP(EXEC, int, execve, (P path, P arguments, P variables), (path, arguments, variables))
WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
WRAP_POINTER(OPEN, fopen64, (P path, P mode), (path, mode))
WRAP(PIPE, int, pipe, (P ends), (ends))
WRAP(PIPE, int, pipe2, (P ends, int flags), (ends, flags))
WRAP(ACCEPT, int, accept, (int d, P address, P length), (d, address, length))
WRAP(ACCEPT, int, accept4, (int d, P address, P length, int flags), (d, address, length, flags))
WRAP(SOCKET, int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(SOCKET, int, socketpair, (int family, int type, int protocol, P ends),
     (family, type, protocol, ends))
WRAP(KILL, int, kill, (int pid, int number), (pid, number))
WRAP(WAIT, int, waitpid, (int pid, P status, int flags), (pid, status, flags))
WRAP(WAIT, int, wait4, (int pid, P status, int flags, P usage), (pid, status, flags, usage))
WRAP(WAIT, int, waitid, (int type, int id, P info, int flags), (type, id, info, flags))
WRAP(READ, ssize_t, read, (int d, P data, size_t size), (d, data, size))
WRAP(READ, ssize_t, pread64, (int d, P data, size_t size, int64_t offset), (d, data, size, offset))
WRAP(WRITE, ssize_t, write, (int d, P data, size_t size), (d, data, size))
WRAP(WRITE, ssize_t, pwrite64, (int d, P data, size_t size, int64_t offset),
     (d, data, size, offset))
WRAP(SEND, ssize_t, send, (int d, P data, size_t size, int flags), (d, data, size, flags))
WRAP(SEND, ssize_t, sendto, (int d, P data, size_t size, int flags, P address, int length),
     (d, data, size, flags, address, length))
WRAP(SEND, ssize_t, sendmsg, (int d, P message, int flags), (d, message, flags))
WRAP(RECV, ssize_t, recvmsg, (int d, P message, int flags), (d, message, flags))
WRAP(RECV, ssize_t, recv, (int d, P data, size_t size, int flags), (d, data, size, flags))
WRAP(RECV, ssize_t, recvfrom, (int d, P data, size_t size, int flags, P address, P length),
     (d, data, size, flags, address, length))
WRAP(CHDIR, int, chdir, (P path), (path))
WRAP(CHDIR, int, fchdir, (int d), (d))
WRAP(UNLINK, int, unlink, (P path), (path))
WRAP(UNLINK, int, unlinkat, (int directory, P path, int flags), (directory, path, flags))
WRAP(UNLINK, int, rmdir, (P path), (path))
WRAP(RENAME, int, rename, (P from, P to), (from, to))
WRAP(RENAME, int, renameat, (int one, P from, int other, P to), (one, from, other, to))
WRAP(STAT, int, stat64, (P path, P found), (path, found))
WRAP(STAT, int, lstat64, (P path, P found), (path, found))
WRAP(STAT, int, fstat64, (int d, P found), (d, found))
WRAP(STAT, int, fstatat64, (int directory, P path, P found, int flags),
     (directory, path, found, flags))
WRAP(DUP, int, dup, (int d), (d))
WRAP(DUP, int, dup2, (int d, int number), (d, number))
WRAP(DUP, int, dup3, (int d, int number, int flags), (d, number, flags))
#define WRAP_FCNTL(name)                                                                           \
    int name(int d, int command, ...) {                                                            \
        REAL(int, name, (int, int, ...))                                                           \
        va_list rest;                                                                              \
        va_start(rest, command);                                                                   \
        P argument = va_arg(rest, P);                                                              \
        va_end(rest);                                                                              \
        return command == DUPLICATE && refused(DUP) ? -1 : real(d, command, argument);             \
    }

enum { DUPLICATE = 1030 }; /* F_DUPFD_CLOEXEC, by which Python duplicates */

WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)
WRAP(POLL, int, poll, (P descriptors, unsigned long count, int milliseconds),
     (descriptors, count, milliseconds))
WRAP(POLL, int, epoll_wait, (int d, P events, int most, int milliseconds),
     (d, events, most, milliseconds))
WRAP(EPOLL, int, epoll_create1, (int flags), (flags))
WRAP(EPOLL, int, epoll_ctl, (int d, int operation, int other, P event),
     (d, operation, other, event))
WRAP(MEMFD, int, memfd_create, (P name, unsigned flags), (name, flags))
WRAP(TIMES, int, utimensat, (int directory, P path, P times, int flags),
     (directory, path, times, flags))
WRAP(TIMES, int, futimens, (int d, P times), (d, times))
WRAP(SEEK, int64_t, lseek64, (int d, int64_t offset, int whence), (d, offset, whence))
WRAP(SEEK, int, ftruncate64, (int d, int64_t size), (d, size))
WRAP(LOCK, int, flock, (int d, int operation), (d, operation))

WRAP_POINTER(LIST, opendir, (P path), (path))
WRAP_POINTER(LIST, fdopendir, (int d), (d))
WRAP_POINTER(LIST, readdir64, (P directory), (directory))
WRAP_POINTER(CWD, getcwd, (P path, size_t size), (path, size))
WRAP(READLINK, ssize_t, readlink, (P path, P found, size_t size), (path, found, size))
WRAP(READLINK, ssize_t, readlinkat, (int directory, P path, P found, size_t size),
     (directory, path, found, size))
WRAP(ACCESS, int, access, (P path, int mode), (path, mode))
WRAP(ACCESS, int, faccessat, (int directory, P path, int mode, int flags),
     (directory, path, mode, flags))
WRAP(CHMOD, int, chmod, (P path, int mode), (path, mode))
WRAP(CHMOD, int, fchmod, (int d, int mode), (d, mode))
WRAP(MMAP, P, mmap64, (P where, size_t size, int protection, int flags, int d, int64_t offset),
     (where, size, protection, flags, d, offset))
WRAP(MMAP, int, madvise, (P where, size_t size, int advice), (where, size, advice))
WRAP(OPTION, int, getsockopt, (int d, int level, int name, P value, P size),
     (d, level, name, value, size))
WRAP(OPTION, int, setsockopt, (int d, int level, int name, P value, int size),
     (d, level, name, value, size))
WRAP(OPTION, int, getsockname, (int d, P address, P size), (d, address, size))
WRAP(BIND, int, bind, (int d, P address, int size), (d, address, size))
WRAP(BIND, int, listen, (int d, int waiting), (d, waiting))

int ioctl(int d, unsigned long what, ...) {
    REAL(int, ioctl, (int, unsigned long, ...))
    va_list rest;
    va_start(rest, what);
    P argument = va_arg(rest, P);
    va_end(rest);
    return refused(IOCTL) ? -1 : real(d, what, argument);
}

/* Whatever it answers, the descriptor is free. */
int close(int d) {
    REAL(int, close, (int))
    int result = real(d), fails = refused(CLOSE);
    return fails ? -1 : result;
}

/* Not the real one: that returns twice, which a function of C can't pass on. A fork does as well. */
int vfork(void) { return fork(); }
