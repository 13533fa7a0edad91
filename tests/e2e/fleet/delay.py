"""Carries frames between two links of this network namespace, each some milliseconds after it came.

usage: delay.py LINK LINK MILLISECONDS

It is what `tc qdisc add … netem delay` would be, for kernels without it. Links must not leave checksums to their hardware
(`ethtool -K … tx off`): nobody would make them up here.
"""

import collections
import select
import socket
import sys
import time

EVERY_PROTOCOL = 3


def opened(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    link.bind((name, EVERY_PROTOCOL))
    link.setblocking(False)
    return link


def main():
    first, second, delay = opened(sys.argv[1]), opened(sys.argv[2]), int(sys.argv[3]) / 1000
    other = {first: second, second: first}
    on_the_way = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for link in select.select([first, second], [], [], wait)[0]:
            try:
                frame, address = link.recvfrom(65536)
            except OSError:
                continue  # the wire was taken down
            if address[2] != socket.PACKET_OUTGOING:
                on_the_way.append((time.monotonic() + delay, other[link], frame))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, link, frame = on_the_way.popleft()
            try:
                link.send(frame)
            except OSError:
                pass  # a wire that is down loses it


main()
