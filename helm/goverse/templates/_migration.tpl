{{/* The Pod that migrates the database to the schema of this release. */}}
{{- define "goverse.migration" -}}
{{- include "goverse.pod" (dict "root" . "part" "tools") }}
restartPolicy: OnFailure
containers:
  - name: migrate
    image: {{ .Values.images.tools }}
    args: [db, {{ ternary "init" "migrate" .Values.postgres.bundled }}]
    {{- include "goverse.container" . | nindent 4 }}
    env:
      # Without a configuration file, because a hook runs before the ConfigMap exists.
      - name: GOVERSE_POSTGRES__DSN
        value: {{ (include "goverse.config" . | fromYaml).postgres.dsn | quote }}
      {{- include "goverse.databaseEnv" . | nindent 6 }}
      {{- if .Values.postgres.bundled }}
      # The password is passed separately, because it would have to be URL-encoded in the data source name.
      - { name: GOVERSE_ADMIN_PASSWORD_FILE, value: /etc/goverse/postgres-admin/password }
      - name: GOVERSE_ADMIN_DSN
        value: "postgresql://postgres@{{ include "goverse.name" . }}-postgres.{{ .Release.Namespace }}.svc:5432/postgres{{ if .Values.tls.enabled }}?sslmode=verify-full&sslrootcert=/etc/goverse/postgres/ca.crt{{ end }}"
      {{- end }}
    volumeMounts:
      - { name: tmp, mountPath: /tmp }
      {{- if .Values.postgres.bundled }}
      - { name: postgres-admin, mountPath: /etc/goverse/postgres-admin, readOnly: true }
      {{- end }}
      {{- include "goverse.databaseMounts" . | nindent 6 }}
    resources:
      {{- toYaml .Values.migration.resources | nindent 6 }}
volumes:
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  {{- if .Values.postgres.bundled }}
  - name: postgres-admin
    secret: { secretName: {{ include "goverse.postgresSecret" . }}, defaultMode: 0440, items: [{ key: admin-password, path: password }] }
  {{- end }}
  {{- include "goverse.databaseVolumes" . | nindent 2 }}
{{- end }}
