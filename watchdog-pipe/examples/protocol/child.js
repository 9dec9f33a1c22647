#!/usr/bin/env node
// A child that follows the pipe of WATCHDOG_PIPE: repeats its standard input, and ends when its
// parent does.
"use strict";

const fs = require("node:fs");
const net = require("node:net");

/** The number of the read end; undefined in a process that nobody supervises. */
function link() {
  const text = process.env.WATCHDOG_PIPE;
  delete process.env.WATCHDOG_PIPE; // for this process, and not for the programs that it starts
  if (text === undefined) return undefined;
  const fields = new Map(text.split(",").map((field) => field.split("=", 2)));
  const [number, pipe] = [fields.get("fd"), fields.get("pipe")];
  if (!/^\d+$/.test(number) || !/^\d+:\d+$/.test(pipe)) throw new Error(`WATCHDOG_PIPE=${text}`);
  try {
    const found = fs.fstatSync(Number(number), { bigint: true });
    return `${found.dev}:${found.ino}` === pipe ? Number(number) : undefined;
  } catch {
    return undefined; // the number is not open: the variable was written for another process
  }
}

/** Calls `told` once, with the verdict. */
function follow(number, told) {
  const pipe = new net.Socket({ fd: number, readable: true, writable: false });
  let seen = "";
  const settle = (verdict) => {
    pipe.removeAllListeners("data").removeAllListeners("end").destroy();
    told(verdict);
  };
  pipe.on("data", (data) => {
    seen = seen.slice(-7) + data.toString("latin1");
    const word = /wd:(drop|free|died)\n/.exec(seen);
    if (word) settle({ drop: "dropped", free: "released", died: "exited" }[word[1]]);
  });
  pipe.on("end", () => settle("exited"));
}

const number = link();
console.log(number === undefined ? "unsupervised" : "ready");
if (number !== undefined) {
  follow(number, (verdict) => {
    console.log(verdict);
    if (verdict !== "released") process.exit();
  });
}
process.stdin.on("data", (data) => process.stdout.write(data)); // the work
process.stdin.on("end", () => process.exit());
