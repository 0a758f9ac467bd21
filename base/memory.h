/* The allocator, set for processes that live long and mostly wait. */
#ifndef GATEHOUSE_MEMORY_H
#define GATEHOUSE_MEMORY_H

/*
 * Once, at the start: large blocks are mapped by themselves and go back to the kernel when they are freed. By default
 * glibc moves that limit up to what was freed last, and one large message then stays with the process for ever.
 */
void memory_tune(void);

#endif
