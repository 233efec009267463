/* Prints each name of the command line with its addresses, or with what getaddrinfo has against it.
 *
 * It is linked with musl's library and nothing else, not even a header, so that a compiler as small as tcc is enough.
 * What is declared here is the ABI of Linux; the entry point is for x86-64.
 */
struct addrinfo {
    int flags, family, type, protocol;
    unsigned length;
    void *address;
    char *canonical;
    struct addrinfo *next;
};

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);
int getnameinfo(const void *address, unsigned length, char *host, unsigned size, char *service, unsigned, int flags);
const char *gai_strerror(int problem);
int printf(const char *format, ...);
void exit(int status);

enum { STREAM = 1, NUMERIC = 1 };

static void resolve(const char *name)
{
    struct addrinfo hints = {0, 0, STREAM}, *found = 0;
    int problem = getaddrinfo(name, 0, &hints, &found);

    printf("== %s\n", name);
    if (problem)
        printf("%s\n", gai_strerror(problem));
    for (; found; found = found->next) {
        char text[64];
        getnameinfo(found->address, found->length, text, sizeof text, 0, 0, NUMERIC);
        printf("%s\n", text);
    }
}

void begin(long *stack)
{
    long count = stack[0];
    const char **words = (const char **)(stack + 1);

    for (long i = 1; i < count; i++)
        resolve(words[i]);
    exit(0);
}

__asm__(".globl _start\n"
        "_start: mov %rsp, %rdi\n"
        "and $-16, %rsp\n"
        "call begin\n");
