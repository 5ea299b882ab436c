package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	jaeger "github.com/jaegertracing/jaeger/model/json"
)

// What Jaeger's query service wraps every answer in.
type answer[T any] struct {
	Data   T   `json:"data"`
	Total  int `json:"total"`
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
	Errors []struct {
		Code    int            `json:"code,omitempty"`
		Msg     string         `json:"msg"`
		TraceID jaeger.TraceID `json:"traceID,omitempty"`
	} `json:"errors"`
}

type operation struct {
	Name     string `json:"name"`
	SpanKind string `json:"spanKind"`
}

// Reads an answer with Jaeger's own types; a field that they do not know is an error.
func read[T any](url string) T {
	response, err := http.Get(url)
	check(err)
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	var read answer[T]
	if err := decoder.Decode(&read); err != nil {
		check(fmt.Errorf("%s: %w", url, err))
	}
	if len(read.Errors) > 0 {
		check(fmt.Errorf("%s: %s", url, read.Errors[0].Msg))
	}
	return read.Data
}

// Looks at everything that a Jaeger client can see, and prints a line for each trace: its id, its spans and how many of
// them have a parent in it; then the number of calls between services.
func browse(base string) {
	seen := map[jaeger.TraceID]bool{}
	for _, service := range read[[]string](base + "/api/services") {
		named := url.QueryEscape(service)
		if len(read[[]operation](base+"/api/operations?service="+named)) == 0 {
			check(fmt.Errorf("%s has no operations", service))
		}
		found := read[[]jaeger.Trace](base + "/api/traces?limit=1000&start=0&end=9000000000000000&service=" + named)
		for _, trace := range found {
			seen[trace.TraceID] = true
		}
	}
	for id := range seen {
		for _, trace := range read[[]jaeger.Trace](base + "/api/traces/" + string(id)) {
			spans := map[jaeger.SpanID]bool{}
			for _, span := range trace.Spans {
				spans[span.SpanID] = true
				if trace.Processes[span.ProcessID].ServiceName == "" {
					check(fmt.Errorf("span %s has no process", span.SpanID))
				}
			}
			children := 0
			for _, span := range trace.Spans {
				for _, reference := range span.References {
					if reference.RefType == jaeger.ChildOf && reference.TraceID == span.TraceID && spans[reference.SpanID] {
						children++
					}
				}
			}
			fmt.Println(trace.TraceID, len(spans), children)
		}
	}
	calls := uint64(0)
	for _, link := range read[[]jaeger.DependencyLink](base + "/api/dependencies?endTs=9000000000000&lookback=9000000000000") {
		calls += link.CallCount
	}
	fmt.Println("calls", calls)
}
