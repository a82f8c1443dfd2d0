// Command probe does in a pod what the tests of the cluster want to see there:
//
//	probe say TEXT      print it, also as termination message
//	probe serve PORT    answer every request with the pod's host name, until it is told to end
//	probe ask URL       print the answer, once there is one
//	probe eat           take memory until something stops it
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	switch os.Args[1] {
	case "say":
		fmt.Println(os.Args[2])
		check(os.WriteFile("/dev/termination-log", []byte(os.Args[2]), 0o644))
	case "serve":
		host, err := os.Hostname()
		check(err)
		answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, host) }
		check(http.ListenAndServe(":"+os.Args[2], http.HandlerFunc(answer)))
	case "ask":
		fmt.Println(ask(os.Args[2]))
	case "eat":
		for eaten := [][]byte{}; ; time.Sleep(time.Millisecond) {
			bite := make([]byte, 1<<20)
			for i := range bite {
				bite[i] = 1
			}
			eaten = append(eaten, bite)
		}
	}
}

func ask(url string) string {
	client := http.Client{Timeout: 2 * time.Second}
	for ; ; time.Sleep(100 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		text, err := io.ReadAll(answer.Body)
		check(err)
		return string(text)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
