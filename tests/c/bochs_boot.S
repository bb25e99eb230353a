/* The ROM of a PC without BIOS or system: from the reset vector to 64-bit code, vectors of 512 bits
 * switched on; SECTORS of the disk are read to PROGRAM and called. Its 64 KiB end at 4 GiB. There
 * are no interrupts: any fault stops Bochs. */
.set ROM, 0xffff0000
.text
rom:
.code16
start16:
    cli
    lgdtl %cs:(gdt_pointer - rom)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(start32 - rom + ROM)
.code32
start32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    /* Addresses are physical ones: pages of 1 GiB, the first and the last of 4. */
    movl $0x2003, 0x1000
    movl $0, 0x1004
    movl $0x00000083, 0x2000
    movl $0, 0x2004
    movl $0xc0000083, 0x2018
    movl $0, 0x201c
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0x40620, %eax /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx /* EFER: long mode */
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80000023, %eax /* paging, native FPU errors, MP, protection */
    movl %eax, %cr0
    ljmpl $0x18, $(start64 - rom + ROM)
.code64
start64:
    xorl %ecx, %ecx /* XCR0: x87, SSE, AVX, mask registers, all of ZMM */
    xorl %edx, %edx
    movl $0xe7, %eax
    xsetbv
    xorl %ebx, %ebx /* the first disk of the first ATA controller, a sector at a time, by its number */
    movl $PROGRAM, %edi
    cld
1:  movw $0x1f2, %dx
    movb $1, %al
    outb %al, %dx
    incw %dx
    movl %ebx, %eax
    outb %al, %dx
    incw %dx
    shrl $8, %eax
    outb %al, %dx
    incw %dx
    shrl $8, %eax
    outb %al, %dx
    incw %dx
    movb $0xe0, %al
    outb %al, %dx
    incw %dx
    movb $0x20, %al /* read */
    outb %al, %dx
2:  inb %dx, %al
    andb $0x88, %al
    cmpb $0x08, %al /* not busy, has data */
    jne 2b
    movw $0x1f0, %dx
    movl $256, %ecx
    rep insw
    incl %ebx
    cmpl $SECTORS, %ebx
    jne 1b
    movl $(PROGRAM - 0x10000), %esp
    movl $PROGRAM, %eax
    call *%rax
    movw $0x8900, %dx /* Bochs' own port */
    leaq message(%rip), %rsi
1:  lodsb
    outb %al, %dx
    testb %al, %al
    jnz 1b
2:  hlt
    jmp 2b
message:
    .asciz "Shutdown"
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00af9a000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt - rom + ROM
    .org 0xfff0
.code16
    jmp start16
    .org 0x10000
