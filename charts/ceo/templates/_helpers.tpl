{{- /* The templates keep to what both Helm and internal/chart know: text/template and toJson, fromYaml, replace, quote. */ -}}
{{- define "ceo.labels" }}app.kubernetes.io/part-of: cluster-etcd-operator, app.kubernetes.io/managed-by: {{ quote .Release.Service }}, app.kubernetes.io/version: {{ quote .Chart.AppVersion }}{{ end }}
{{- define "ceo.image" }}{{ .Values.image.repository }}:{{ or .Values.image.tag .Chart.AppVersion }}{{ end }}
