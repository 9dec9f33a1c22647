// A host in Go whose server, with all that the server starts, ends when the host does, SIGKILL included.
//
//	go run host.go SHIM fd|stdin SERVER [ARG...]
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
)

type request struct {
	Version string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  string `json:"params"`
}

type answer struct {
	Result string `json:"result"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	shim, watch, server := os.Args[1], os.Args[2], os.Args[3:]

	// The lifetime hangs on the server's standard input, of which this process alone has the other end.
	option := "--watch=stdin"
	var files []*os.File
	if watch == "fd" {
		// The lifetime hangs on a pipe of its own. The first of ExtraFiles is descriptor 3 of the shim; the server does
		// not get it. Go makes both ends close-on-exec: nobody else that this process starts holds the write end.
		ended, lives, err := os.Pipe()
		must(err)
		// A file that nobody refers to is closed by the garbage collector.
		defer lives.Close()
		option, files = "--watch=fd:3", []*os.File{ended}
	}
	arguments := append([]string{option, "--stop-timeout=2s", "--"}, server...)
	command := exec.Command(shim, arguments...)
	command.ExtraFiles = files
	command.Stderr = os.Stderr
	requests, err := command.StdinPipe()
	must(err)
	answers, err := command.StdoutPipe()
	must(err)
	must(command.Start())
	for _, file := range files {
		file.Close()
	}

	must(json.NewEncoder(requests).Encode(request{"2.0", 1, "echo", "hello"}))
	line, err := bufio.NewReader(answers).ReadBytes('\n')
	must(err)
	var got answer
	must(json.Unmarshal(line, &got))
	fmt.Println(got.Result)
	must(command.Wait())
}
